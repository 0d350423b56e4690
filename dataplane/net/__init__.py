"""asyncio lives here and nowhere below: connections, pools, timers, tasks."""
