package drbd

import (
	"strings"
	"testing"

	"holdfast/internal/api"
)

// TestAdjustPlan shows differences in the commands that drbdadm-84 printed for the same ones (with a drbdsetup that answered
// `show` accordingly).
func TestAdjustPlan(t *testing.T) {
	h := newHost(t)
	d := h.serve(t)
	running := `resource mysqlr0 {
 net { protocol C; }
 on lqi1ecmy01 { device /dev/drbd1; disk DISK; address 10.0.1.4:7788; meta-disk internal; }
 on lqi1ecmy02 { device /dev/drbd1; disk /dev/sdc; address 10.0.1.5:7788; meta-disk internal; }
}
`
	running = strings.ReplaceAll(running, "DISK", h.disk)
	up := "drbdsetup-84 new-resource mysqlr0\ndrbdsetup-84 new-minor mysqlr0 1 0\ndrbdmeta 1 v08 ROOT/disk internal apply-al\n" +
		"drbdsetup-84 attach 1 ROOT/disk ROOT/disk internal\n" +
		"drbdsetup-84 connect mysqlr0 ipv4:10.0.1.4:7788 ipv4:10.0.1.5:7788 --protocol=C\n"
	h.run("-d adjust mysqlr0", "").want(t, up, "", 0)
	d.volumes = []api.VolumeStatus{{Resource: "mysqlr0", Minor: 1, Disk: "UpToDate"}}
	for change, want := range map[string]string{
		"":                                     "",
		"protocol C -> timeout 50; protocol A": "drbdsetup-84 net-options ipv4:10.0.1.4:7788 ipv4:10.0.1.5:7788 --set-defaults --protocol=C\n",
		"10.0.1.5:7788 -> 10.0.1.5:7789": "drbdsetup-84 disconnect ipv4:10.0.1.4:7788 ipv4:10.0.1.5:7789\n" +
			"drbdsetup-84 connect mysqlr0 ipv4:10.0.1.4:7788 ipv4:10.0.1.5:7788 --protocol=C\n",
		"net { -> disk { resync-rate 1M; } net {": "drbdsetup-84 disk-options 1 --set-defaults\n",
		h.disk + " -> /dev/other": "drbdsetup-84 detach 1\ndrbdmeta 1 v08 ROOT/disk internal apply-al\n" +
			"drbdsetup-84 attach 1 ROOT/disk ROOT/disk internal\n",
		"drbd1; -> drbd2;": "drbdsetup-84 detach 2\ndrbdsetup-84 del-minor 2\ndrbdsetup-84 new-minor mysqlr0 1 0\n" +
			"drbdmeta 1 v08 ROOT/disk internal apply-al\ndrbdsetup-84 attach 1 ROOT/disk ROOT/disk internal\n",
		"net { -> options { cpu-mask 3; } net {": "drbdsetup-84 resource-options mysqlr0 --set-defaults\n",
	} {
		old, new, _ := strings.Cut(change, " -> ")
		d.asked, d.reply = nil, api.VolumeReply{Config: strings.Replace(running, old, new, 1)}
		h.run("-d adjust mysqlr0", "").want(t, want, "", 0)
		if len(d.asked) != 1 || d.asked[0].Do.Verb != api.VolumeShow {
			t.Errorf("%s: a dry run asked %+v", change, d.asked)
		}
	}
}
