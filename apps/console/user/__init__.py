"""Pages of an end user of an app: their wallet, keys, limits and data. They open by a link that the app gets."""
