"""What an evaluation is made of; the command is ``tgl_e2e.evaluate``."""
