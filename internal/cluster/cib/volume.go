package cib

// VolumePrimitive is a resource that is a replicated volume (ocf:linbit:drbd).
type VolumePrimitive struct {
	// Resource is the primitive's id, Volume the name of its volume (drbd_resource).
	Resource, Volume string
}

// VolumePrimitives finds the resources below e that are volumes, wherever they are in the tree, in the order of the document.
func VolumePrimitives(e *Element) []VolumePrimitive {
	var out []VolumePrimitive
	for _, c := range e.Children {
		if c.Name == "primitive" && c.Get("class") == "ocf" && c.Get("provider") == "linbit" && c.Get("type") == "drbd" {
			if v, ok := NVLookup(c, "instance_attributes", "drbd_resource"); ok {
				out = append(out, VolumePrimitive{c.ID(), v})
			}
			continue
		}
		out = append(out, VolumePrimitives(c)...)
	}
	return out
}
