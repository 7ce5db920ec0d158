/** Something the user gave cannot be used; the message is one whole sentence, what and why. */
export class InputError extends Error {}
