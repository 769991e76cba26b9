"""The doors: they turn HTTP into references, ask the guard, and answer or hand on."""
