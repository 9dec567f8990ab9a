package guest

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// syslogFile is where the host's messages go.
const syslogFile = "/var/log/syslog"

// syslogMessageMax bounds one message in bytes; longer ones are cut.
const syslogMessageMax = 8192

// startSyslog receives what programs send to /dev/log (agents log with logger) and appends it to the syslog file, with the
// time it came.
func startSyslog() error {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/dev/log", Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("listen on /dev/log: %w", err)
	}
	if err := os.Chmod("/dev/log", 0o666); err != nil {
		return fmt.Errorf("open /dev/log to all: %w", err)
	}
	file, err := os.OpenFile(syslogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("open the syslog: %w", err)
	}
	go func() {
		buffer := make([]byte, syslogMessageMax)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			text := strings.TrimRight(string(buffer[:n]), "\n\x00")
			fmt.Fprintf(file, "%s %s\n", time.Now().Format("2006-01-02T15:04:05.000000"), withoutPriority(text))
		}
	}()
	return nil
}

// withoutPriority drops the <N> a syslog message begins with (RFC 3164, 4.1.1).
func withoutPriority(text string) string {
	if end := strings.IndexByte(text, '>'); strings.HasPrefix(text, "<") && end > 0 && end < 5 {
		return text[end+1:]
	}
	return text
}
