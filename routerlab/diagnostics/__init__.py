"""`diagnostics=true`: keyword traps, outputs out of scope, controls without sound, other cards."""
