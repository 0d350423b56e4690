"""The small process that starts, watches and ends the containers of this machine; standard library only."""
