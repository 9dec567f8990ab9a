package histories

import (
	"context"
	"strings"
	"testing"

	"holdfast/internal/lab/demo"
	"holdfast/internal/lab/tutorial"
)

// TestSplitBrainHealed: without a cluster both sides of the volume have been mounted and written to. One command, typed on both
// hosts, settles it while the survivor is in use; the undo brings the other file system back, which can be mounted.
func TestSplitBrainHealed(t *testing.T) {
	needLab(t)
	ctx, cancel := context.WithTimeout(context.Background(), historyLimit)
	defer cancel()
	s := raise(t)
	defer func() { // it is not the tutorial's system
		if t.Failed() {
			s.spoil(t)
		} else if err := strike(); err != nil {
			t.Error(err)
		}
	}()
	if err := tutorial.Replay(ctx, demo.LabRunner{Lab: s.lab}, tutorial.Volumes(), t.Output()); err != nil {
		t.Fatal(err)
	}
	keep, lose := s.lab.Host(tutorial.DB1), s.lab.Host(tutorial.DB2)
	sh(ctx, t, lose, "drbdadm disconnect mysqlr0")
	sh(ctx, t, keep, "drbdadm disconnect mysqlr0 && echo kept >/var/lib/mysql/kept && sync")
	const mount, umount = "drbdadm primary mysqlr0 && mount -t ext3 /dev/drbd1 /mnt && ", " && umount /mnt && drbdadm secondary mysqlr0"
	sh(ctx, t, lose, mount+"echo lost >/mnt/lost"+umount)
	sh(ctx, t, keep, "drbdadm connect mysqlr0")
	sh(ctx, t, lose, "drbdadm connect mysqlr0")
	s.await(ctx, t, "the split brain is found", func() bool {
		text := sh(ctx, t, keep, "drbdadm cstate mysqlr0") + sh(ctx, t, lose, "drbdadm cstate mysqlr0")
		return strings.Contains(text, "StandAlone")
	})

	const heal = "holdfast drbd heal --keep=" + tutorial.DB1 + " mysqlr0"
	settle := func(options, want string) {
		t.Helper()
		sh(ctx, t, keep, heal)
		if out := sh(ctx, t, lose, heal+options); !strings.Contains(out, want) {
			t.Errorf("%s: %s", heal+options, out)
		}
	}
	settle(" --dry-run", "Nothing was changed.")
	settle(" --whole --save=/root/lost.side", "mysqlr0: healed.")
	wantLine(ctx, t, keep, "drbdadm dstate mysqlr0", "UpToDate/UpToDate")
	sh(ctx, t, keep, "echo later >/var/lib/mysql/later && sync")

	sh(ctx, t, lose, "drbdadm disconnect mysqlr0")
	sh(ctx, t, lose, "holdfast drbd heal --undo=/root/lost.side mysqlr0")
	wantLine(ctx, t, lose, mount+"cat /mnt/lost && ! ls /mnt/kept /mnt/later 2>/dev/null"+umount, "lost")

	settle("", "mysqlr0: healed.")
	wantLine(ctx, t, keep, "cat /var/lib/mysql/kept /var/lib/mysql/later | xargs", "kept later")
	v, err := demo.Volume(ctx, keep, tutorial.Volume)
	if err != nil {
		t.Fatal(err)
	}
	sh(ctx, t, keep, "umount /var/lib/mysql && drbdadm down mysqlr0")
	sh(ctx, t, lose, "drbdadm down mysqlr0")
	s.compare(t, v.SizeBytes)
}
