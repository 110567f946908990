"""The worker protocol and the serve protocol, as both sides speak them."""
