"""The network: parts in their own files, put together in :mod:`tgl_e2e.model.tgl`."""
