"""The version: of the package, of the API's document, of what the CLI prints."""

VERSION = "0.2.0"
