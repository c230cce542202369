"""How it is found, and its line in the table of parts."""

import torch

from mbrl.analysis import REPORT_PARTS, ReportPart, Subject
from mine.bias_result import Bias


@torch.no_grad()
def bias(of: Subject, generator: torch.Generator, *, most: int) -> Bias:
    rows = of.rows.select(torch.randperm(len(of.rows), generator=generator)[:most])
    mean = of.model.predict(rows.obs, rows.action).mean.mean(0)  # B x S, over the members
    return Bias((mean - rows.next_obs).mean(0).tolist())


PARTS = (*REPORT_PARTS, ReportPart(Bias, bias, sizes={"most": 10_000}, quick={"most": 100}))
