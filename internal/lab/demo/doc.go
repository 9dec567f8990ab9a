// Package demo is the main job: it brings the tutorial's system up in the lab, replays the tutorial's commands and its
// failover tests, and measures what clients saw.
package demo
