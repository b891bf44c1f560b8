"""What readers are shown: views, and how they are made of what is stored. Nothing here changes anything."""
