package volume

import (
	"fmt"
	"strconv"
	"strings"

	"holdfast/internal/api"
)

// defaultScores are the defaults of adjust_master_score in the metadata.
const defaultScores = "0 10 1000 10000"

// Scores reads the four values of adjust_master_score (adjust_promotion_score is taken too): data only Consistent;
// UpToDate data only on the peer; UpToDate here, Secondary, and the peer unknown; UpToDate here, and Primary or the
// peer known. They must not decrease.
func Scores(params map[string]string) ([4]int, error) {
	text := params["adjust_promotion_score"]
	if text == "" {
		text = params["adjust_master_score"]
	}
	if text == "" {
		text = defaultScores
	}
	var out [4]int
	fields := strings.Fields(text)
	if len(fields) != len(out) {
		return out, fmt.Errorf("parameter adjust_master_score must have four numbers, not %q", text)
	}
	for i, f := range fields {
		n, err := strconv.Atoi(f)
		if err != nil || (i > 0 && n < out[i-1]) {
			return out, fmt.Errorf("parameter adjust_master_score must have four numbers that do not decrease, not %q", text)
		}
		out[i] = n
	}
	return out, nil
}

// Score is the promotion score of a replica. ok is false when it must not be promoted. A replica without UpToDate data
// of its own gets none, although DRBD could be Primary over its peer's disk: only a member of U is ever promoted, and
// a bound volume's disk is UpToDate only while U names it (DESIGN S1, S3).
func Score(params map[string]string, s *api.VolumeStatus) (score int, ok bool) {
	scores, err := Scores(params)
	if err != nil {
		return 0, false
	}
	switch {
	case s.Disk == "UpToDate" && (s.Role == "Primary" || peerKnown(s)):
		score = scores[3]
	case s.Disk == "UpToDate":
		score = scores[2]
	case s.Disk == "Consistent":
		score = scores[0]
	}
	return score, score > 0
}

func peerKnown(s *api.VolumeStatus) bool { return s.PeerDisk != "" && s.PeerDisk != "DUnknown" }
