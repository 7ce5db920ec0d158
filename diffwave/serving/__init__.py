"""A voice behind HTTP: mels are posted, speech comes back, whole or while it is generated.

`limits` says how much is taken at a time; `bodies` makes a mel of what was posted; `windows` and
`batch` generate stretches of several utterances together; `engine` decides which is next; `app` is
the interface, `server` what listens. Needs the extra `serve`; nothing else in the package does.
"""
