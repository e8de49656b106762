"""What the command line is made of: options, the commands of a store, what they print, log and measure."""
