package cib

// SetTicket writes one value of a ticket's state (granted, standby, last-granted) in the status section, making the
// ticket if there is none.
func (d *Document) SetTicket(id, name, value string) {
	tickets := d.Status().EnsureChild("tickets")
	t := tickets.ChildWith("ticket_state", "id", id)
	if t == nil {
		t = tickets.Append(NewElement("ticket_state", "id", id))
	}
	t.Set(name, value)
}

// Ticket reads one value of a ticket's state; "" when it is not known.
func (d *Document) Ticket(id, name string) string {
	return d.Root.Child("status").Child("tickets").ChildWith("ticket_state", "id", id).Get(name)
}
