package drbd

import (
	"testing"

	"holdfast/internal/api"
)

// TestHealInASplitCluster: on the losing host one command gives its branch of the log up, waits until it is taken in, and heals the
// disk if it has anything of its own.
func TestHealInASplitCluster(t *testing.T) {
	h := newHost(t)
	d := h.serve(t)
	record := []api.VolumeRecord{{Resource: "mysqlr0"}}
	split := api.ClusterStatus{Running: true, Branch: "aa", Volumes: record, Apart: []api.ApartStatus{{Node: "lqi1ecmy02", Branch: "bb"}}}
	joined := api.ClusterStatus{Running: true, Branch: "bb", Volumes: record, Members: []api.MemberStatus{{Node: "lqi1ecmy01", Lease: "active"}}}
	alone := api.VolumeStatus{Resource: "mysqlr0", Minor: 1, Disk: "UpToDate", Conn: "WFConnection", Bound: true, Adopted: true}
	refused := alone
	refused.Reason = "this disk is not in U and its data is not known to be older"
	const give = "mysqlr0: lqi1ecmy01 gives its branch of the log up and rejoins lqi1ecmy02\n"
	const file = "ROOT/var/lib/holdfast/saved/mysqlr0-lqi1ecmy01-20261122T162552Z.side"

	const healed = "mysqlr0: healed. What lqi1ecmy01 held of its own: holdfast drbd heal --show=" + file + ", or --extract=" + file + " --onto=COPY\n"
	for name, test := range map[string]struct {
		line      string
		cluster   api.ClusterStatus
		then      api.VolumeStatus // once rejoined
		heals     bool
		out       string
		rejoining bool
	}{
		"dry run": {"heal --keep=lqi1ecmy02 --dry-run mysqlr0", split, alone, false, "mysqlr0: split brain of the cluster. lqi1ecmy01 would give its branch of the log up and stop what it runs. " +
			"Of it, 4.1 MB to 6.1 MB would be saved in " + file + " and replaced by the data of lqi1ecmy02. Nothing was changed.\n", false},
		"both have written": {"heal --keep=lqi1ecmy02 mysqlr0", split, refused, true, give +
			healed, true},
		"nothing of its own": {"heal --keep=lqi1ecmy02 mysqlr0", split, api.VolumeStatus{Resource: "mysqlr0", Conn: "SyncTarget", Bound: true, Adopted: true}, false,
			give + "mysqlr0: connected (SyncTarget): the disk of lqi1ecmy01 holds nothing of its own that has to be saved\n", true},
		"typed again": {"heal --keep=lqi1ecmy02 mysqlr0", joined, refused, true,
			healed, false},
		"on the host that is kept": {"heal --keep=lqi1ecmy01 mysqlr0", split, alone, false,
			"mysqlr0: the data of lqi1ecmy01 is kept. On lqi1ecmy02: holdfast drbd heal --keep=lqi1ecmy01 mysqlr0\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			d.cluster, d.volumes, d.asked = test.cluster, []api.VolumeStatus{alone}, nil
			if len(test.cluster.Apart) == 0 {
				d.volumes = []api.VolumeStatus{test.then}
			}
			rejoined := false
			d.rejoin = func(in api.RejoinRequest) api.RejoinReply {
				if in.Keep != "lqi1ecmy02" {
					t.Errorf("asked for %+v", in)
				}
				if in.Look {
					return api.RejoinReply{MineKiB: 4000, TheirsKiB: 2000, SizeKiB: 1 << 20}
				}
				rejoined = true
				d.cluster, d.volumes = joined, []api.VolumeStatus{test.then}
				return api.RejoinReply{}
			}
			d.after = func(d *daemon, do api.VolumeDo) {
				v := d.volumes[0]
				v.Heal = &api.HealStatus{Phase: api.HealDone, File: do.File}
				d.volumes = []api.VolumeStatus{v}
			}
			h.run(test.line, "").want(t, test.out, "", 0)
			if rejoined != test.rejoining || (len(d.asked) > 0) != test.heals {
				t.Errorf("rejoined %v, asked the volume for %+v", rejoined, d.asked)
			}
		})
	}
}
