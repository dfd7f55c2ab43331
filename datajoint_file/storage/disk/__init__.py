"""File system store: POSIX disks, NFS, SMB."""
