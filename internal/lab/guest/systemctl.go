package guest

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// Systemctl is the host's systemctl: VERB UNIT... for the services PID 1 knows. It returns an exit code, systemctl's
// own where it has one (3 for a unit that is not active, 5 for an unknown one).
func Systemctl(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "daemon-reload" {
		return 0
	}
	if len(args) < 2 {
		fmt.Fprintln(stderr, "usage: systemctl start|stop|restart|status|is-active|enable|disable UNIT...")
		return 1
	}
	code := 0
	for _, unit := range args[1:] {
		if c := controlUnit(args[0], strings.TrimSuffix(unit, ".service"), stdout, stderr); c != 0 {
			code = c
		}
	}
	return code
}

// ServiceCommand is the host's service: NAME VERB.
func ServiceCommand(args []string, stdout, stderr io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintln(stderr, "usage: service NAME start|stop|restart|status")
		return 1
	}
	return controlUnit(args[1], args[0], stdout, stderr)
}

func controlUnit(verb, unit string, stdout, stderr io.Writer) int {
	op := Op(verb)
	if verb == "is-active" {
		op = OpStatus
	}
	switch op {
	case OpStart, OpStop, OpRestart, OpStatus, OpEnable, OpDisable:
	default:
		fmt.Fprintf(stderr, "Unknown command verb %s.\n", verb)
		return 1
	}
	resp, err := Control(context.Background(), ControlSocket, Request{Op: op, Service: unit})
	if err != nil {
		fmt.Fprintln(stderr, err)
		if strings.HasPrefix(err.Error(), "Unit ") {
			return 5
		}
		return 1
	}
	if resp.Remark != "" {
		fmt.Fprintln(stderr, resp.Remark)
	}
	if op != OpStatus {
		return 0
	}
	return printStatus(verb, resp.Services[0], stdout)
}

func printStatus(verb string, s Status, stdout io.Writer) int {
	state, code := "inactive", 3
	if s.Active {
		state, code = "active", 0
	}
	if verb == "is-active" {
		fmt.Fprintln(stdout, state)
		return code
	}
	fmt.Fprintf(stdout, "%s.service\n   Active: %s\n", s.Name, state)
	if s.PID != 0 {
		fmt.Fprintf(stdout, " Main PID: %d\n", s.PID)
	}
	if s.Last != "" {
		fmt.Fprintf(stdout, "Last exit: %s\n", s.Last)
	}
	return code
}
