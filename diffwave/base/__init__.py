"""What everything else stands on: files, audio, values checked by types, errors."""
