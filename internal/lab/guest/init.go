package guest

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab/ask"
)

// shutdownLimit is how long processes that no service stopped get after SIGTERM.
const shutdownLimit = 5 * time.Second

// initProcess is PID 1 of a host.
type initProcess struct {
	reaper *reaper
	mu     sync.Mutex // guards changes of AtBoot and of the file
	units  []*unit
}

// Init runs as PID 1 until the host is shut down or killed; it returns an exit code. When the services that start at boot
// have been started it writes `ready` to the lab.
func Init() int {
	report := os.NewFile(reportFD, "report")
	unix.CloseOnExec(reportFD)
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	p := &initProcess{reaper: newReaper()}
	listener, err := p.prepare()
	if err != nil {
		fmt.Fprintf(report, "%v", err)
		return 1
	}
	p.bootServices()
	fmt.Fprint(report, "ready")
	report.Close()
	p.serve(listener)
	return 0
}

func (p *initProcess) prepare() (net.Listener, error) {
	for _, kv := range Environment() {
		for i := range kv {
			if kv[i] == '=' {
				os.Setenv(kv[:i], kv[i+1:])
				break
			}
		}
	}
	if err := makeDirectories(); err != nil {
		return nil, err
	}
	if err := startSyslog(); err != nil {
		return nil, err
	}
	var services []Service
	if err := readJSON(ServicesFile, &services); err != nil {
		return nil, err
	}
	for _, s := range services {
		p.units = append(p.units, newUnit(s, p.reaper))
	}
	l, err := ask.Listen(ControlSocket)
	if err != nil {
		return nil, fmt.Errorf("answer the lab: %w", err)
	}
	return l, nil
}

// bootServices starts what starts at boot, in order. A service that fails does not keep the host from booting, as on a
// real one; its console log says why.
func (p *initProcess) bootServices() {
	for _, u := range p.units {
		if !u.AtBoot {
			continue
		}
		if err := u.start(bootReadyLimit); err != nil {
			if out, openErr := u.output(); openErr == nil {
				fmt.Fprintf(out, "%v\n", err)
				out.Close()
			}
		}
	}
}

// serve answers the lab and the host's systemctl until a shutdown is asked for.
func (p *initProcess) serve(l net.Listener) {
	done := make(chan struct{}, 1)
	go ask.Serve(l, p.do, func(req Request) {
		if req.Op == OpShutdown {
			done <- struct{}{}
		}
	})
	<-done
	p.shutdown()
}

func (p *initProcess) do(req Request) Response {
	if req.Op == OpShutdown {
		return Response{}
	}
	if req.Op == OpStatus && req.Service == "" {
		return Response{Services: p.statusAll()}
	}
	u := p.find(req.Service)
	if u == nil {
		return Response{Error: fmt.Sprintf("Unit %s.service could not be found.", req.Service)}
	}
	resp, err := p.perform(req.Op, u)
	if err != nil {
		resp.Error = err.Error()
	}
	return resp
}

func (p *initProcess) perform(op Op, u *unit) (Response, error) {
	switch op {
	case OpStart:
		return Response{}, u.start(startLimit)
	case OpStop:
		return Response{}, u.stop()
	case OpRestart:
		if err := u.stop(); err != nil {
			return Response{}, err
		}
		return Response{}, u.start(startLimit)
	case OpStatus:
		return Response{Services: []Status{u.status()}}, nil
	case OpEnable, OpDisable:
		return p.enable(u, op == OpEnable)
	}
	return Response{}, fmt.Errorf("unknown operation %q", op)
}

// enable records whether the service starts at boot.
func (p *initProcess) enable(u *unit, on bool) (Response, error) {
	if u.Managed != "" {
		return Response{Remark: fmt.Sprintf("%s is started and stopped by %s; nothing to do.", u.Name, u.Managed)}, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u.mu.Lock()
	u.AtBoot = on
	u.mu.Unlock()
	services := make([]Service, len(p.units))
	for i, each := range p.units {
		services[i] = each.Service
	}
	return Response{}, writeJSON(ServicesFile, services)
}

func (p *initProcess) statusAll() []Status {
	all := make([]Status, len(p.units))
	for i, u := range p.units {
		all[i] = u.status()
	}
	return all
}

func (p *initProcess) find(name string) *unit {
	for _, u := range p.units {
		if u.Name == name {
			return u
		}
		for _, a := range u.Aliases {
			if a == name {
				return u
			}
		}
	}
	return nil
}

// shutdown stops the services in reverse order and then whatever is left. When PID 1 returns, the kernel kills the rest
// and unmounts the host's file systems, which writes them back. There is no sync(2): it would wait for every file system
// of the machine, those of frozen hosts too.
func (p *initProcess) shutdown() {
	for i := len(p.units) - 1; i >= 0; i-- {
		if err := p.units[i].stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	_ = syscall.Kill(-1, syscall.SIGTERM) // fails only when nothing is left
	for end := time.Now().Add(shutdownLimit); processesLeft() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}

// processesLeft tells whether anything but PID 1 lives in the host.
func processesLeft() bool {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() {
			return true
		}
	}
	return false
}

func makeDirectories() error {
	var dirs []Directory
	if err := readJSON(DirectoriesFile, &dirs); err != nil {
		return err
	}
	for _, d := range dirs {
		if err := d.create(); err != nil {
			return err
		}
	}
	return nil
}

func (d Directory) create() error {
	if err := os.MkdirAll(d.Path, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", d.Path, err)
	}
	owner, err := user.Lookup(d.Owner)
	if err != nil {
		return fmt.Errorf("make %s: %w", d.Path, err)
	}
	uid, _ := strconv.Atoi(owner.Uid) // numeric on Linux
	gid, _ := strconv.Atoi(owner.Gid)
	if err := os.Chown(d.Path, uid, gid); err != nil {
		return fmt.Errorf("give %s to %s: %w", d.Path, d.Owner, err)
	}
	return os.Chmod(d.Path, os.FileMode(d.Mode))
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the lab's configuration: %w", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// writeJSON replaces the file as a whole.
func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(temporary, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
