"""Pictures of a saga, and of a journal: pages of HTML that need nothing else."""
