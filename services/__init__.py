"""Programs: they join the stages of app_core up and hold no logic of their own."""
