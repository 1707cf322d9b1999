"""The durable queue: model, schedule, store, relay, delivery status notifications."""
