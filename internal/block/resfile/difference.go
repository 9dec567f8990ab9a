package resfile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// ChangeKind is what an adjustment has to change.
type ChangeKind uint8

// The kinds, in the order in which they are carried out.
const (
	ChangeOptions     ChangeKind = iota + 1 // the resource's options section
	ChangeMinor                             // device or minor: the device has to be made anew
	ChangeDisk                              // disk or metadata's place: detach and attach
	ChangeDiskOptions                       // a volume's disk options
	ChangeNet                               // options of the connection
	ChangeAddress                           // an address, or the peer: disconnect and connect
)

// Change is one difference between what runs and what the configuration says.
type Change struct {
	Kind   ChangeKind
	Volume int // number, of ChangeMinor, ChangeDisk and ChangeDiskOptions
}

// Differences tells what has to change for a resource that runs on node as running says to become what wanted says, in the
// order in which it is to be done. The error is that of For, or names a volume that was added or removed.
func Differences(running, wanted *Resource, node string) ([]Change, error) {
	was, wasPeer, err := running.For(node)
	if err != nil {
		return nil, err
	}
	self, peer, err := wanted.For(node)
	if err != nil {
		return nil, err
	}
	if a, b := numbers(was), numbers(self); !slices.Equal(a, b) {
		return nil, fmt.Errorf("%v: resource %s has the volumes %v where %v run: drbdadm down, then up", wanted.Pos, wanted.Name, b, a)
	}
	var list []Change
	if !same("options", running.expanded().Options, wanted.expanded().Options) {
		list = append(list, Change{Kind: ChangeOptions})
	}
	for _, v := range self.Volumes {
		old, _ := was.Volume(v.Number)
		list = append(list, v.differences(old, running, wanted)...)
	}
	return append(list, connectionDifferences(running, wanted, [4]*Host{was, wasPeer, self, peer})...), nil
}

func numbers(h *Host) (all []int) {
	for _, v := range h.Volumes {
		all = append(all, v.Number)
	}
	return all
}

func (v *Volume) differences(old *Volume, running, wanted *Resource) (list []Change) {
	if v.Minor != old.Minor || v.Path() != old.Path() {
		list = append(list, Change{ChangeMinor, v.Number})
	}
	if v.Disk != old.Disk || v.Meta != old.Meta {
		return append(list, Change{ChangeDisk, v.Number})
	}
	if !same("disk", old.inherited(running.expanded().Disk), v.inherited(wanted.expanded().Disk)) {
		list = append(list, Change{ChangeDiskOptions, v.Number})
	}
	return list
}

func connectionDifferences(running, wanted *Resource, hosts [4]*Host) []Change {
	was, wasPeer, self, peer := hosts[0], hosts[1], hosts[2], hosts[3]
	switch {
	case was.Address != self.Address, wasPeer.Address != peer.Address, wasPeer.Name() != peer.Name():
		return []Change{{Kind: ChangeAddress}}
	case !same("net", running.expanded().Net, wanted.expanded().Net):
		return []Change{{Kind: ChangeNet}}
	}
	return nil
}

// same compares the values that count, numbers by what they mean: 1M is 1024K.
func same(section string, a, b Options) bool {
	return maps.Equal(a.effective(section), b.effective(section))
}

func (os Options) effective(section string) map[string]string {
	all := map[string]string{}
	for _, o := range os {
		value := o.Value()
		if r, ok := ruleFor(section, o.Name); ok && r.kind == number {
			if n, err := parseNumber(value, r.unit); err == nil {
				value = strconv.FormatInt(n, 10)
			}
		}
		all[o.Name] = value
	}
	return all
}
