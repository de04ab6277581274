"""Price sources: each module turns what one publishes into prices of ours, exactly or not at all."""
