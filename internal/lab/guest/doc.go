// Package guest is what runs inside a host of the lab: Boot builds the host's private view of the machine out of fresh
// namespaces, Init is its PID 1 (reaps, supervises the host's services, answers the lab), and Control is how the lab and
// the host's systemctl and service commands ask PID 1 for something.
package guest

// Paths of a host, as seen from inside.
const (
	// Bin is the directory of holdfast and its links, first in PATH.
	Bin = "/usr/local/sbin"
	// ConfigDir holds what the lab wrote for PID 1.
	ConfigDir = "/etc/holdfast-lab"
	// ServicesFile lists the services PID 1 supervises: JSON, a list of Service.
	ServicesFile = ConfigDir + "/services.json"
	// DirectoriesFile lists what PID 1 makes below /run at each boot: JSON, a list of Directory.
	DirectoriesFile = ConfigDir + "/directories.json"
	// ControlSocket is where PID 1 answers Control requests.
	ControlSocket = "/run/lab-init.sock"
	// ConsoleDir collects what the services print. It belongs to the lab, not to the host, and survives a power cut.
	ConsoleDir = "/run/console"
	// SearchPath is the PATH of everything that runs in a host.
	SearchPath = Bin + ":/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Environment is what every process of a host starts with. Front ends that need a module of the machine's kernel are not for
// the lab: its hosts have the one that is there everywhere.
func Environment() []string {
	return []string{"PATH=" + SearchPath, "HOME=/root", "LANG=C.UTF-8", "USER=root", "LOGNAME=root", "SHELL=/bin/sh",
		"HOLDFAST_FRONTEND=fuse"}
}
