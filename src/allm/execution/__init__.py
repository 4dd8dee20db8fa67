"""Layer C, execution: the pipeline of a stream, its fold, tools, the chat loop."""
