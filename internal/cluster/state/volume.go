package state

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/cluster"
	"holdfast/internal/planted"
)

// VolumeAdopt records the first U of a volume (S1): two replicas, connected, UpToDate, with the same current UUID and no
// dirty bit, as the proposer has seen on both. Primary is the node that is Primary now, in its lease session, or empty.
type VolumeAdopt struct {
	Name           string        `json:"name"`
	Primary        string        `json:"primary,omitempty"`
	PrimarySession uint64        `json:"primary_session,omitempty"`
	U              []api.Replica `json:"u"`
	// Version is that of the record the proposer saw, 0 if there was none: a VolumeAlone since then makes what it saw of the
	// replicas void.
	Version uint64 `json:"version,omitempty"`
}

func (c *VolumeAdopt) verb() string { return "volume.adopt" }

func (c *VolumeAdopt) apply(t *tx) (Result, error) {
	v, err := t.newVolume(c.Name)
	if err != nil {
		return Result{}, err
	}
	if c.Version != v.Version {
		return v.result(), refusal("the replicas of volume %s were seen equal at version %d; one has gone on alone since (version %d)", c.Name, c.Version, v.Version)
	}
	if len(c.U) != 2 {
		return refuse("the first U of volume %s has two replicas, not %d; with one replica only, an operator names the survivor", c.Name, len(c.U))
	}
	a, b := c.U[0], c.U[1]
	if a.Node == b.Node || a.DeviceUUID == b.DeviceUUID {
		return refuse("the two replicas of volume %s are the same disk or on the same node (%s, %s)", c.Name, a.Node, b.Node)
	}
	if a.Generation != b.Generation {
		return refuse("the replicas of volume %s differ: %s has generation %s, %s has %s", c.Name, a.Node, a.Generation, b.Node, b.Generation)
	}
	for _, r := range c.U {
		if err := t.checkReplica(r); err != nil {
			return Result{}, err
		}
	}
	v.Adopted, v.U = true, []api.Replica{settled(a), settled(b)}
	slices.SortFunc(v.U, byNode)
	if c.Primary != "" {
		if _, in := v.Replica(c.Primary); !in {
			return refuse("%s is Primary of volume %s but has none of its replicas", c.Primary, c.Name)
		}
		if !t.LeaseLive(c.Primary, c.PrimarySession) {
			return refuse("%s is Primary of volume %s without a lease (session %d)", c.Primary, c.Name, c.PrimarySession)
		}
		v.Primary, v.PrimarySession, v.LastPrimary = c.Primary, c.PrimarySession, c.Primary
	}
	v.Epoch++
	v.Version++
	t.setVolume(v)
	return v.result(), nil
}

// VolumeAlone is asked for by a node whose volume is not in the log yet, before it goes on as Primary without its peer:
// whatever adoption was proposed up to now names a replica that is about to fall behind, and is refused from here on.
type VolumeAlone struct {
	Name    string `json:"name"`
	Node    string `json:"node"`
	Version uint64 `json:"version"`
}

func (c *VolumeAlone) verb() string { return "volume.alone" }

func (c *VolumeAlone) apply(t *tx) (Result, error) {
	v, err := t.newVolume(c.Name)
	if err != nil {
		return v.result(), err
	}
	if _, err := t.member(c.Node); err != nil {
		return v.result(), err
	}
	if c.Version != v.Version {
		return v.result(), refusal("volume %s is at version %d, not %d", c.Name, v.Version, c.Version)
	}
	v.Version++
	t.setVolume(v)
	return v.result(), nil
}

// VolumePromote makes a node Primary and begins the next epoch (S3). Epoch and Version are those the node saw; the disk
// is the one it has. NewGeneration is drawn by the node; it becomes U's generation if the last tenure ended uncleanly
// and other replicas leave U for it (S5).
type VolumePromote struct {
	Name string `json:"name"`
	Node string `json:"node"`
	// Session is the node's lease session the tenure belongs to.
	Session       uint64 `json:"session"`
	DeviceUUID    string `json:"device_uuid"`
	Generation    string `json:"generation"`
	NewGeneration string `json:"new_generation"`
	Epoch         uint64 `json:"epoch"`
	Version       uint64 `json:"version"`
}

func (c *VolumePromote) verb() string { return "volume.promote" }

func (c *VolumePromote) apply(t *tx) (Result, error) {
	v, err := t.volumeAt(c.Name, c.Epoch, c.Version)
	if err != nil {
		return v.result(), err
	}
	if v.Primary != "" {
		return v.result(), refusal("volume %s has a Primary, %s (epoch %d), that has neither reported its demotion nor lost its lease", c.Name, v.Primary, v.Epoch)
	}
	if !t.LeaseLive(c.Node, c.Session) {
		return v.result(), refusal("%s has no lease (session %d)", c.Node, c.Session)
	}
	if _, in := v.Replica(c.Node); !in && !planted.PromoteOutsideU {
		return v.result(), refusal("%s has no up-to-date replica of volume %s; those are on %s", c.Node, c.Name, v.nodes())
	}
	if !v.Holds(c.Node, c.DeviceUUID, c.Generation) && !planted.PromoteOutsideU {
		return v.result(), refusal("the disk of %s (device %s, generation %s) is not the one that is up to date in volume %s; it needs a full resync", c.Node, c.DeviceUUID, c.Generation, c.Name)
	}
	if v.Unclean && len(v.U) > 1 {
		if v, err = v.keepOnly(func(r api.Replica) bool { return r.Node == c.Node }, c.NewGeneration); err != nil {
			return v.result(), err
		}
	}
	v.Epoch++
	v.Primary, v.PrimarySession, v.LastPrimary, v.Unclean = c.Node, c.Session, c.Node, false
	t.setVolume(v)
	return v.result(), nil
}

// VolumeDemote is the report of a Primary, in its own session, that it has demoted the volume: every write it
// acknowledged is on every member of U, and it will acknowledge no more in this epoch. Unclean says that it stopped being
// Primary on the way, by a failure: writes it never acknowledged may be on some members only (S5).
type VolumeDemote struct {
	Name    string `json:"name"`
	Node    string `json:"node"`
	Session uint64 `json:"session"`
	Epoch   uint64 `json:"epoch"`
	Unclean bool   `json:"unclean,omitempty"`
}

func (c *VolumeDemote) verb() string { return "volume.demote" }

func (c *VolumeDemote) apply(t *tx) (Result, error) {
	v, err := t.volume(c.Name)
	if err != nil {
		return Result{}, err
	}
	if err := v.ownedBy(c.Node, c.Epoch); err != nil {
		return v.result(), err
	}
	if c.Session != v.PrimarySession {
		return v.result(), refusal("volume %s was promoted in session %d of %s, not %d", c.Name, v.PrimarySession, c.Node, c.Session)
	}
	v.Primary, v.PrimarySession, v.Unclean = "", 0, c.Unclean
	t.setVolume(v)
	return v.result(), nil
}

// VolumeRemove takes a replica out of U (S4). Only the epoch's Primary asks, while its acknowledgements are frozen. The
// remaining replicas get NewGeneration, so that the one that left can be told apart.
type VolumeRemove struct {
	Name          string `json:"name"`
	Node          string `json:"node"` // the Primary
	Epoch         uint64 `json:"epoch"`
	Version       uint64 `json:"version"`
	Remove        string `json:"remove"`
	NewGeneration string `json:"new_generation"`
}

func (c *VolumeRemove) verb() string { return "volume.remove" }

func (c *VolumeRemove) apply(t *tx) (Result, error) {
	v, err := t.volumeAt(c.Name, c.Epoch, c.Version)
	if err != nil {
		return v.result(), err
	}
	if err := v.ownedBy(c.Node, c.Epoch); err != nil {
		return v.result(), err
	}
	if _, in := v.Replica(c.Remove); !in {
		return v.result(), refusal("%s is not in U of volume %s (%s)", c.Remove, c.Name, v.nodes())
	}
	if v, err = v.keepOnly(func(r api.Replica) bool { return r.Node != c.Remove }, c.NewGeneration); err != nil {
		return v.result(), err
	}
	v.Leaning = v.Leaning || c.Remove == c.Node
	t.setVolume(v)
	return v.result(), nil
}

// VolumeAdd takes a replica into U that is UpToDate after resync (S5). Only the epoch's Primary asks.
type VolumeAdd struct {
	Name    string      `json:"name"`
	Node    string      `json:"node"` // the Primary
	Epoch   uint64      `json:"epoch"`
	Version uint64      `json:"version"`
	Add     api.Replica `json:"add"`
}

func (c *VolumeAdd) verb() string { return "volume.add" }

func (c *VolumeAdd) apply(t *tx) (Result, error) {
	v, err := t.volumeAt(c.Name, c.Epoch, c.Version)
	if err != nil {
		return v.result(), err
	}
	if err := v.ownedBy(c.Node, c.Epoch); err != nil {
		return v.result(), err
	}
	if err := t.checkReplica(c.Add); err != nil {
		return v.result(), err
	}
	if len(v.U) >= cluster.MaxReplicas {
		return v.result(), refusal("volume %s has %d replicas already", c.Name, len(v.U))
	}
	for _, r := range v.U {
		switch {
		case r.Node == c.Add.Node || r.DeviceUUID == c.Add.DeviceUUID:
			return v.result(), refusal("%s (device %s) is in U of volume %s already; if its disk was replaced, remove the old one first", r.Node, r.DeviceUUID, c.Name)
		case r.PrevGeneration != "":
			return v.result(), refusal("%s has not confirmed generation %s of volume %s yet", r.Node, r.Generation, c.Name)
		case r.Generation != c.Add.Generation:
			return v.result(), refusal("%s has generation %s of volume %s, which is at %s", c.Add.Node, c.Add.Generation, c.Name, r.Generation)
		}
	}
	v.U = append(slices.Clone(v.U), settled(c.Add))
	slices.SortFunc(v.U, byNode)
	v.Version++
	v.Leaning = false
	t.setVolume(v)
	return v.result(), nil
}

// VolumeConfirm is a replica's report that its disk now holds U's generation: the one before is void from here on. It
// does not count as a change of U.
type VolumeConfirm struct {
	Name       string `json:"name"`
	Node       string `json:"node"`
	DeviceUUID string `json:"device_uuid"`
	Generation string `json:"generation"`
}

func (c *VolumeConfirm) verb() string { return "volume.confirm" }

func (c *VolumeConfirm) apply(t *tx) (Result, error) {
	v, err := t.volume(c.Name)
	if err != nil {
		return Result{}, err
	}
	v.U = slices.Clone(v.U)
	for i, r := range v.U {
		if r.Node == c.Node && r.DeviceUUID == c.DeviceUUID && r.Generation == c.Generation {
			v.U[i].PrevGeneration = ""
			t.setVolume(v)
			return v.result(), nil
		}
	}
	return v.result(), refusal("%s with device %s at generation %s is not in U of volume %s", c.Node, c.DeviceUUID, c.Generation, c.Name)
}

// VolumeForget is an operator's word. With Node, that replica's disk is gone for good and leaves U; the volume must
// have no Primary (one would take the replica out itself). Without Node, the volume itself is forgotten.
type VolumeForget struct {
	Name          string `json:"name"`
	Node          string `json:"node,omitempty"`
	NewGeneration string `json:"new_generation,omitempty"`
	By            string `json:"by"`
	UnixSeconds   int64  `json:"unix_seconds"`
}

func (c *VolumeForget) verb() string { return "volume.forget" }

func (c *VolumeForget) apply(t *tx) (Result, error) {
	v, err := t.volume(c.Name)
	if err != nil {
		return Result{}, err
	}
	if v.Primary != "" {
		return v.result(), refusal("volume %s is Primary on %s; demote it first", c.Name, v.Primary)
	}
	text := fmt.Sprintf("volume %s forgotten; its up-to-date replicas were on %s", c.Name, v.nodes())
	if c.Node == "" {
		v.Adopted, v.U, v.Unclean, v.Leaning = false, nil, false, false
		v.Version++
	} else {
		if _, in := v.Replica(c.Node); !in {
			return v.result(), refusal("%s is not in U of volume %s (%s)", c.Node, c.Name, v.nodes())
		}
		text = fmt.Sprintf("replica of volume %s on %s forgotten", c.Name, c.Node)
		if v, err = v.keepOnly(func(r api.Replica) bool { return r.Node != c.Node }, c.NewGeneration); err != nil {
			return v.result(), err
		}
	}
	t.note(OperatorRecord{By: c.By, What: "forget", Text: text, UnixSeconds: c.UnixSeconds})
	t.setVolume(v)
	return v.result(), nil
}

// VolumeSurvivor is an operator's word that one disk is the volume from now on: as the first U where two equal replicas
// cannot be had, or when every member of U is gone for good. The second may lose acknowledged writes and wants
// AcceptLoss. Generation is what the disk holds now; NewGeneration, if the volume is adopted, what it gets.
type VolumeSurvivor struct {
	Name          string `json:"name"`
	Node          string `json:"node"`
	DeviceUUID    string `json:"device_uuid"`
	Generation    string `json:"generation"`
	NewGeneration string `json:"new_generation,omitempty"`
	AcceptLoss    bool   `json:"accept_loss,omitempty"`
	By            string `json:"by"`
	UnixSeconds   int64  `json:"unix_seconds"`
}

func (c *VolumeSurvivor) verb() string { return "volume.survivor" }

func (c *VolumeSurvivor) apply(t *tx) (Result, error) {
	r := api.Replica{Node: c.Node, DeviceUUID: c.DeviceUUID, Generation: c.Generation}
	if err := t.checkReplica(r); err != nil {
		return Result{}, err
	}
	v := t.Volumes[c.Name]
	if !v.Adopted {
		fresh, err := t.newVolume(c.Name)
		if err != nil {
			return Result{}, err
		}
		v = fresh
		v.Adopted = true
	} else {
		if v.Primary != "" {
			return v.result(), refusal("volume %s is Primary on %s, and so not lost", c.Name, v.Primary)
		}
		if !v.Holds(c.Node, c.DeviceUUID, c.Generation) && !c.AcceptLoss {
			return v.result(), refusal("the disk of %s is not an up-to-date replica of volume %s (those are on %s): writes that were acknowledged may be missing on it; say --accept-loss if they are gone for good", c.Node, c.Name, v.nodes())
		}
		if c.NewGeneration == "" || v.usesGeneration(c.NewGeneration) {
			return v.result(), refusal("volume %s needs a new generation", c.Name)
		}
		r.Generation, r.PrevGeneration = c.NewGeneration, c.Generation
	}
	text := fmt.Sprintf("%s (device %s) named survivor of volume %s; up-to-date replicas before: %s", c.Node, c.DeviceUUID, c.Name, v.nodes())
	t.note(OperatorRecord{By: c.By, What: "survivor", Text: text, UnixSeconds: c.UnixSeconds})
	v.U, v.Unclean = []api.Replica{r}, false
	v.Epoch++
	v.Version++
	t.setVolume(v)
	return v.result(), nil
}

// keepOnly makes U the replicas that keep, with the new generation; the one each holds now stays valid until it has
// confirmed. On refusal the volume is returned unchanged.
func (v Volume) keepOnly(keep func(api.Replica) bool, generation string) (Volume, error) {
	var u []api.Replica
	for _, r := range v.U {
		if !keep(r) {
			continue
		}
		if r.PrevGeneration != "" {
			return v, refusal("%s has not confirmed generation %s of volume %s yet", r.Node, r.Generation, v.Name)
		}
		r.PrevGeneration, r.Generation = r.Generation, generation
		u = append(u, r)
	}
	if len(u) == 0 {
		return v, refusal("volume %s would have no up-to-date replica left", v.Name)
	}
	if generation == "" || v.usesGeneration(generation) {
		return v, refusal("volume %s needs a new generation, not %q", v.Name, generation)
	}
	v.U = u
	v.Version++
	return v, nil
}

func (v Volume) usesGeneration(g string) bool {
	return slices.ContainsFunc(v.U, func(r api.Replica) bool { return r.Generation == g || r.PrevGeneration == g })
}

// ownedBy refuses whoever is not the Primary of the epoch.
func (v Volume) ownedBy(node string, epoch uint64) error {
	if v.Primary != node || node == "" || v.Epoch != epoch {
		return refusal("%s is not Primary of volume %s in epoch %d (the log has %q in epoch %d)", node, v.Name, epoch, v.Primary, v.Epoch)
	}
	return nil
}

func (v Volume) nodes() string {
	var names []string
	for _, r := range v.U {
		names = append(names, r.Node)
	}
	if len(names) == 0 {
		return "no node"
	}
	return strings.Join(names, ", ")
}

func (v Volume) result() Result { return Result{Epoch: v.Epoch, Version: v.Version} }

func (t *tx) volume(name string) (Volume, error) {
	v, ok := t.Volumes[name]
	if !ok || !v.Adopted {
		return v, refusal("volume %.255q is not in the log", name)
	}
	return v, nil
}

// volumeAt is volume as a compare-and-set: the proposer must have seen the present epoch and version.
func (t *tx) volumeAt(name string, epoch, version uint64) (Volume, error) {
	v, err := t.volume(name)
	if err != nil {
		return v, err
	}
	if v.Epoch != epoch || v.Version != version {
		return v, refusal("volume %s is at epoch %d, version %d, not %d, %d", name, v.Epoch, v.Version, epoch, version)
	}
	return v, nil
}

// newVolume is the record for a volume not yet adopted: a fresh one, or that of a forgotten one.
func (t *tx) newVolume(name string) (Volume, error) {
	if err := checkName("volume", name); err != nil {
		return Volume{}, err
	}
	v, ok := t.Volumes[name]
	if v.Adopted {
		return v, refusal("volume %s is in the log already", name)
	}
	if !ok && len(t.Volumes) >= cluster.MaxVolumes {
		return v, refusal("a cluster has at most %d volumes", cluster.MaxVolumes)
	}
	v.Name = name
	return v, nil
}

// checkReplica accepts what can be in U: a disk with an identity and a generation, on a data member.
func (t *tx) checkReplica(r api.Replica) error {
	m, err := t.member(r.Node)
	if err != nil {
		return err
	}
	if m.Kind != Data {
		return refusal("%s is a %s and holds no volume", r.Node, m.Kind)
	}
	if r.DeviceUUID == "" || r.Generation == "" {
		return refusal("the replica on %s has no device UUID or no generation", r.Node)
	}
	return nil
}

// settled is r as the log takes it in: with one generation.
func settled(r api.Replica) api.Replica {
	r.PrevGeneration = ""
	return r
}

func byNode(a, b api.Replica) int { return strings.Compare(a.Node, b.Node) }
