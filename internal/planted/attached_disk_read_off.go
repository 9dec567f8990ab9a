//go:build !bug_attached_disk_read

package planted

// AttachedDiskRead: a disk that has been attached to a Primary is read before it is known what it lacks.
const AttachedDiskRead = false
