"""Deleting a table with all that is in it."""

import shutil
from pathlib import Path

from deltalake.fs import DeltaStorageHandler
from pyarrow import fs as arrow_fs

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake.object_store import explained


def delete_all(uri: str, storage_path: str, options: dict[str, str]) -> None:
    """Delete the table at ``uri``: first its log, so that however the rest ends it is no table.

    Args:
        uri: The table.
        storage_path: Root of the lake that it is in.
        options: Storage options.

    Raises:
        InputError: It is outside of the lake, by a link for example.
    """
    if "://" not in uri:
        root, folder = Path(storage_path).resolve(), Path(uri).resolve()
        if root not in folder.parents:
            raise InputError(f"{uri} leads out of the lake, to {folder}: nothing was deleted")
        shutil.rmtree(folder / "_delta_log")
        shutil.rmtree(folder)
        return
    with explained(uri):
        handler = DeltaStorageHandler(uri, options)
        everything = arrow_fs.FileSelector("", recursive=True)
        found = arrow_fs.PyFileSystem(handler).get_file_info(everything)
        files = [each.path for each in found if each.is_file]
        for path in sorted(files, key=lambda path: "_delta_log/" not in f"/{path}"):
            handler.delete_file(path)
