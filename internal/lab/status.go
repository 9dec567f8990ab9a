package lab

// HostStatus is what status shows of one host.
type HostStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Role    string `json:"role"`
	// State is up, frozen or down.
	State string `json:"state"`
	// PID is its PID 1 in the machine's numbering, 0 when down.
	PID int `json:"pid,omitempty"`
}

// Status is what `holdfast lab status` shows.
type Status struct {
	Name   string `json:"name"`
	Dir    string `json:"dir"`
	Keeper bool   `json:"keeper_alive"`
	// KeeperPID is the keeper's number, also after its death.
	KeeperPID int          `json:"keeper_pid"`
	Hosts     []HostStatus `json:"hosts"`
	// Cuts reads `A -> B` for each direction that does not pass.
	Cuts []string `json:"cuts,omitempty"`
}

// Status looks at the lab.
func (l *Lab) Status() (Status, error) {
	s, err := l.dir.load()
	if err != nil {
		return Status{}, err
	}
	status := Status{Name: s.Name, Dir: string(l.dir), Keeper: s.Keeper.alive(), KeeperPID: s.Keeper.PID}
	for _, spec := range s.Topology.Hosts {
		h := HostStatus{Name: spec.Name, Address: spec.Address.String(), Role: string(spec.Role), State: "down"}
		if p := s.Hosts[spec.Name]; p.alive() {
			h.State, h.PID = "up", p.PID
			if l.group.child(spec.Name).frozen() {
				h.State = "frozen"
			}
		}
		status.Hosts = append(status.Hosts, h)
	}
	for _, c := range s.Cuts {
		status.Cuts = append(status.Cuts, c.From+" -> "+c.To)
	}
	return status, nil
}
