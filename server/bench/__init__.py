"""`longjump bench` and `longjump soak`: what a server of ours does on this machine, beside its floor and its peers."""
