"""The pages of developers, a module a topic. A view parses, makes one service call and renders."""
