"""What happens to single files on their way into the folder."""
