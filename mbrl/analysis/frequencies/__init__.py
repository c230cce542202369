"""How well a planner does when it looks once in so many steps."""
