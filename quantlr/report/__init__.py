"""What a person gets: pages, tables, and the folder that holds them."""
