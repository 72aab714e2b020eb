"""A checkpoint for others: as a GGUF file for llama.cpp, and as a repository of the Hugging Face Hub."""
