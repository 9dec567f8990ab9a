package drbd

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

// overview prints a line for each volume, defined or running, and progress below it.
func (c *call) overview() error {
	all, err := c.volumes()
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(api.VolumesReply{Volumes: all})
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("drbd-overview: %w", err)
	}
	_, err = fmt.Fprint(c.Stdout, overviewText(c.withDown(all), string(mounts), usage))
	return err
}

// withDown adds the volumes that are defined here but not up.
func (c *call) withDown(all []api.VolumeStatus) []api.VolumeStatus {
	c.resources = nil
	targets, err := c.targets()
	if err != nil {
		return all // a bad configuration does not hide what runs
	}
	up := map[string]bool{}
	for _, v := range all {
		up[v.Resource] = true
	}
	for _, t := range targets {
		for _, v := range t.volumes {
			if !up[t.Name] {
				all = append(all, api.VolumeStatus{Resource: t.Name, Volume: v.Number, Minor: v.Minor, Conn: unconfigured})
			}
		}
	}
	return byMinor(all)
}

// overviewText lays the volumes out in columns. measure tells about a mounted filesystem.
func overviewText(all []api.VolumeStatus, mounts string, measure func(dir string) string) string {
	var b strings.Builder
	var bars []string
	w := tabwriter.NewWriter(&b, 0, 1, 1, ' ', 0)
	for _, v := range all {
		bars = append(bars, "")
		if v.Conn == unconfigured {
			fmt.Fprintf(w, "%3d:%s/%d\t%s\n", v.Minor, v.Resource, v.Volume, unconfigured)
			continue
		}
		where := ""
		if dir, fs := mounted(v, mounts); dir != "" {
			where = dir + " " + fs + " " + measure(dir)
		}
		fmt.Fprintf(w, "%3d:%s/%d\t%s\t%s\t%s\t%s %s\t%s\n", v.Minor, v.Resource, v.Volume, v.Conn, role(v), dstate(v), protocol(v), flags(v), where)
		if v.Resync != nil && moving(v.Conn) {
			bars[len(bars)-1] = progress(v)
		}
	}
	_ = w.Flush() // writes into memory
	var out strings.Builder
	for i, line := range strings.SplitAfter(strings.TrimSuffix(b.String(), "\n"), "\n") {
		if line == "" {
			continue
		}
		out.WriteString(strings.TrimRight(line, " \n") + "\n")
		if i < len(bars) {
			out.WriteString(bars[i])
		}
	}
	return out.String()
}

// mounted finds where a volume is mounted, under any of its names, and the type of the filesystem.
func mounted(v api.VolumeStatus, mounts string) (dir, fs string) {
	for _, line := range strings.Split(mounts, "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != v.Device && f[0] != v.Kernel || f[0] == "" {
			continue
		}
		return strings.NewReplacer(`\040`, " ", `\011`, "\t").Replace(f[1]), f[2]
	}
	return "", ""
}

// usage is size, used, free and percent of a filesystem, as df -h prints them.
func usage(dir string) string {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil || s.Blocks == 0 {
		return ""
	}
	unit := uint64(s.Bsize)
	used := s.Blocks - s.Bfree
	percent := (used*100 + used + s.Bavail - 1) / max(used+s.Bavail, 1)
	return fmt.Sprintf("%s %s %s %d%%", human(s.Blocks*unit), human(used*unit), human(s.Bavail*unit), min(percent, 100))
}

func human(n uint64) string {
	const units = "KMGTP"
	f := float64(n) / 1024
	i := 0
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	if f < 10 {
		return fmt.Sprintf("%.1f%c", f, units[i])
	}
	return fmt.Sprintf("%.0f%c", f, units[i])
}
