"""The commands: parse, call one function, render. No logic lives here."""
