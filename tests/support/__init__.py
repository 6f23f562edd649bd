"""What several tests share: a real gateway to talk to, upstreams that behave as told, raw sockets."""
