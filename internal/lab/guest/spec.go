package guest

// Spec is all that Boot needs to know of its host. The lab writes it as JSON to Boot's standard input when the host's
// network link is in place. Paths are the machine's.
type Spec struct {
	Name string `json:"name"`
	// Root is an empty directory on which the host's file systems are put together.
	Root string `json:"root"`
	// Image is the ext4 image with the directories etc, var and root.
	Image string `json:"image"`
	// ImageMount is an empty directory for the image while the host is put together.
	ImageMount string `json:"image_mount"`
	// Bin is bound to the host's Bin, Console to its ConsoleDir.
	Bin     string `json:"bin"`
	Console string `json:"console"`
	// Address is the host's IPv4 address with its prefix length, such as 10.0.1.4/24; Gateway its default route.
	Address string `json:"address"`
	Gateway string `json:"gateway"`
	// Link is the name of the host's network interface.
	Link string `json:"link"`
	// Disks are block devices of the machine that the host has.
	Disks []Node `json:"disks,omitempty"`
}

// Node is a block device node: its path in the host and its numbers.
type Node struct {
	Path  string `json:"path"`
	Major uint32 `json:"major"`
	Minor uint32 `json:"minor"`
}

// Service is one thing PID 1 runs.
type Service struct {
	Name string `json:"name"`
	// Aliases are further names systemctl and service know it by.
	Aliases []string `json:"aliases,omitempty"`
	// Argv runs in the foreground, or for a Oneshot to its end.
	Argv []string `json:"argv"`
	// Env is added to Environment.
	Env []string `json:"env,omitempty"`
	// Stop is run to stop it, before the process gets SIGTERM; a Oneshot without it cannot be stopped.
	Stop []string `json:"stop,omitempty"`
	// Ready is tried until it succeeds before a start counts as done.
	Ready []string `json:"ready,omitempty"`
	// AtBoot starts it when the host boots.
	AtBoot bool `json:"at_boot,omitempty"`
	// Restart runs it again at once whenever it ends without having been asked to.
	Restart bool `json:"restart,omitempty"`
	// Oneshot runs to its end and then counts as active.
	Oneshot bool `json:"oneshot,omitempty"`
	// Managed names who starts and stops it (`the cluster`): enable and disable then only say so.
	Managed string `json:"managed,omitempty"`
}

// Directory is made at each boot, since /run starts empty.
type Directory struct {
	Path string `json:"path"`
	// Owner is a user name; the group is the user's own.
	Owner string `json:"owner"`
	// Mode holds permission bits, as 0755.
	Mode uint32 `json:"mode"`
}
