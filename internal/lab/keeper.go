package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab/ask"
)

// reportFD is where a process of the lab tells its parent that it is `ready`, or what failed.
const reportFD = 3

// keeperSpec is what the keeper reads from its standard input.
type keeperSpec struct {
	Dir      labDir   `json:"dir"`
	Topology Topology `json:"topology"`
}

// keeperMain runs the keeper: it holds the router's network namespace and serves the data disks. It lives in a mount
// namespace of its own, from which everything it does not need is unmounted, so that it pins nobody's mounts.
func keeperMain() int {
	report := os.NewFile(reportFD, "report")
	unix.CloseOnExec(reportFD)
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	if err := keep(os.Stdin, report); err != nil {
		fmt.Fprintf(report, "the lab's keeper: %v", err)
		return 1
	}
	return 0
}

func keep(in io.Reader, report io.WriteCloser) error {
	var spec keeperSpec
	if err := json.NewDecoder(in).Decode(&spec); err != nil {
		return fmt.Errorf("read its description: %w", err)
	}
	if err := dropMounts(string(spec.Dir)); err != nil {
		return err
	}
	if err := buildRouter(spec.Topology); err != nil {
		return err
	}
	l, err := ask.Listen(spec.Dir.keeperSocket())
	if err != nil {
		return err
	}
	disks := newDiskServer(spec.Dir)
	fmt.Fprint(report, "ready")
	report.Close()
	ask.Serve(l, disks.answer, nil)
	return nil
}

// dropMounts makes the mounts of this namespace private and removes those that the keeper does not need.
func dropMounts(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	points, err := mountPoints()
	if err != nil {
		return err
	}
	for i := len(points) - 1; i >= 0; i-- {
		if !keeperNeeds(points[i], dir) {
			_ = unix.Unmount(points[i], unix.MNT_DETACH) // one hidden below another goes with it
		}
	}
	return nil
}

func keeperNeeds(point, dir string) bool {
	for _, p := range [...]string{"/", "/proc", "/sys", "/dev"} {
		if point == p {
			return true
		}
	}
	rel, err := filepath.Rel(point, dir)
	return err == nil && filepath.IsLocal(rel)
}

// mountPoints lists the mount points of this process, in the order they were made.
func mountPoints() ([]string, error) {
	file, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var points []string
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		if fields := strings.Fields(scanner.Text()); len(fields) > 4 {
			points = append(points, strings.ReplaceAll(fields[4], `\040`, " "))
		}
	}
	return points, scanner.Err()
}

// startKeeper starts the keeper detached in the lab's cgroup and waits until it answers.
func startKeeper(ctx context.Context, dir labDir, t Topology, group cgroup) (process, error) {
	log, err := os.OpenFile(dir.keeperLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return process{}, fmt.Errorf("start the lab's keeper: %w", err)
	}
	defer log.Close()
	c := child{
		program: dir.program(), args: []string{"lab-init", "keeper"}, group: group, output: log,
		flags: unix.CLONE_NEWNS | unix.CLONE_NEWNET, limit: keeperLimit,
	}
	return c.start(ctx, func(int) (any, error) { return keeperSpec{Dir: dir, Topology: t}, nil })
}

// child is a detached process of the lab that reads its description from standard input and reports on reportFD.
type child struct {
	program string
	args    []string
	group   cgroup
	flags   uintptr // namespaces to make
	output  *os.File
	limit   time.Duration
}

// start starts the process, calls describe with its pid for what it shall read, and waits for its report. When anything
// fails the process is killed.
func (c child) start(ctx context.Context, describe func(pid int) (any, error)) (process, error) {
	dir, err := c.group.open()
	if err != nil {
		return process{}, fmt.Errorf("start %v: %w", c.args, err)
	}
	defer dir.Close()
	reportRead, reportWrite, err := os.Pipe()
	if err != nil {
		return process{}, err
	}
	defer reportRead.Close()
	cmd := exec.Command(c.program, c.args...)
	cmd.Stdout, cmd.Stderr = c.output, c.output
	cmd.ExtraFiles = []*os.File{reportWrite}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: c.flags, UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	reportWrite.Close()
	runtime.KeepAlive(dir)
	if err != nil {
		return process{}, fmt.Errorf("start %v: %w", c.args, err)
	}
	p, err := c.introduce(ctx, cmd.Process.Pid, stdin, reportRead, describe)
	if err != nil {
		_ = cmd.Process.Kill() // it may have ended by itself
	}
	go func() { _ = cmd.Wait() }() // whatever it ends with, its report has said it
	return p, err
}

func (c child) introduce(ctx context.Context, pid int, stdin io.WriteCloser, report *os.File, describe func(int) (any, error)) (process, error) {
	defer stdin.Close()
	spec, err := describe(pid)
	if err != nil {
		return process{}, err
	}
	if err := json.NewEncoder(stdin).Encode(spec); err != nil {
		return process{}, fmt.Errorf("describe %v: %w", c.args, err)
	}
	stdin.Close()
	if err := awaitReport(ctx, report, c.limit); err != nil {
		return process{}, err
	}
	return identify(pid)
}

// awaitReport reads the report to its end: the child closes it.
func awaitReport(ctx context.Context, report *os.File, limit time.Duration) error {
	if err := report.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = report.SetReadDeadline(time.Now()) })
	defer stop()
	text, err := io.ReadAll(report)
	switch {
	case err != nil:
		return fmt.Errorf("wait for the process to be ready: %w", errors.Join(context.Cause(ctx), err))
	case len(text) == 0:
		return errors.New("the process ended without saying why; it was killed or its program is not holdfast")
	case string(text) != "ready":
		return errors.New(string(text))
	}
	return nil
}
