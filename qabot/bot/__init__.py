"""The Discord bot: a front end of qabot. Nothing outside this package imports discord."""
