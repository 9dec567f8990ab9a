package drbd

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/version"
)

// proc prints the text of /proc/drbd.
func (c *call) proc() error {
	all, err := c.volumes()
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(api.VolumesReply{Volumes: all})
	}
	_, err = fmt.Fprint(c.Stdout, procText(all))
	return err
}

// procText lays the volumes out as the 8.4 module does; programs that read /proc/drbd can read this.
func procText(all []api.VolumeStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 8.4.11 (api:1/proto:86-101)\nsrcversion: holdfast-%s \n", version.String())
	last := -1
	for _, v := range byMinor(all) {
		if v.Minor != last+1 {
			b.WriteString("\n") // the module leaves a line where minors are missing
		}
		last = v.Minor
		procVolume(&b, v)
	}
	return b.String()
}

func byMinor(all []api.VolumeStatus) []api.VolumeStatus {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b api.VolumeStatus) int { return a.Minor - b.Minor })
	return all
}

func procVolume(b *strings.Builder, v api.VolumeStatus) {
	if v.Conn == "StandAlone" && v.Disk == "Diskless" && v.Role == "Secondary" {
		fmt.Fprintf(b, "%2d: cs:Unconfigured\n", v.Minor)
		return
	}
	fmt.Fprintf(b, "%2d: cs:%s ro:%s/%s ds:%s/%s %s %s\n", v.Minor, v.Conn, v.Role, v.PeerRole, v.Disk, v.PeerDisk, protocol(v), flags(v))
	n := v.Counters
	fmt.Fprintf(b, "    ns:%d nr:%d dw:%d dr:%d al:%d bm:%d lo:%d pe:%d ua:%d ap:%d ep:%d wo:%s oos:%d\n",
		n.NS, n.NR, n.DW, n.DR, n.AL, n.BM, n.LO, n.PE, n.UA, n.AP, n.EP, orDefault(n.WO, "f"), n.OOS)
	if v.Resync != nil && moving(v.Conn) {
		b.WriteString(progress(v))
	}
}

// protocol is a blank without a connection to have one.
func protocol(v api.VolumeStatus) string {
	if v.Conn == "StandAlone" || v.Protocol == "" {
		return " "
	}
	return v.Protocol
}

func flags(v api.VolumeStatus) string { return orDefault(v.Flags, "r-----") }

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// moving tells whether a connection state has progress to show.
func moving(conn string) bool {
	return slices.Contains([]string{"SyncSource", "SyncTarget", "VerifyS", "VerifyT"}, conn)
}

// progress is the bar and the line below it.
func progress(v api.VolumeStatus) string {
	r := v.Resync
	left, total, unit := r.LeftKiB, r.TotalKiB, "K"
	permille := permilleDone(left, total)
	const inMiB = 4 << 20 // KiB: the module changes the unit at 4 GiB
	if total > inMiB {
		left, total, unit = left>>10, total>>10, "M"
	}
	what := "sync'ed:"
	if strings.HasPrefix(v.Conn, "Verify") {
		what = "verified:"
	}
	want := ""
	if v.Conn == "SyncTarget" && r.WantKiB > 0 {
		want = " want: " + thousands(r.WantKiB)
	}
	return fmt.Sprintf("\t%s %s%3d.%d%% (%d/%d)%s\n\tfinish: %d:%02d:%02d speed: %s (%s)%s K/sec\n",
		bar(permille), what, permille/10, permille%10, left, total, unit,
		r.ETASeconds/3600, r.ETASeconds%3600/60, r.ETASeconds%60, thousands(r.SpeedKiB), thousands(r.AverageKiB), want)
}

// permilleDone counts in pieces of 4 MiB, of which a begun one counts as done, as the module does.
func permilleDone(left, total uint64) uint64 {
	const piece = 4 << 10
	return 1000 - min(1000, left/piece*1000/(total/piece+1))
}

// bar is twenty characters for the whole.
func bar(permille uint64) string {
	const width = 20
	done := int(permille / (1000 / width))
	return "[" + strings.Repeat("=", max(done-1, 0)) + ">" + strings.Repeat(".", width-done) + "]"
}

// thousands groups digits with commas.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
