package sim

import "fmt"

// Names gives the machines, in the order of their units.
func (p *Modbus) Names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, u := range p.units {
		out = append(out, u.machine.name)
	}
	return out
}

// YAML gives the mapping file of a machine, as it lies in the machines folder.
// Clear points are labelled public: the signed policy has to release them too.
func (p *Modbus) YAML(machine string) string {
	id := 0
	for i, name := range p.Names() {
		if name == machine {
			id = i + 1
		}
	}
	if id == 0 {
		panic("sim: there is no machine " + machine)
	}
	return fmt.Sprintf(mapping, machine, id, p.URL())
}

const mapping = `fieldseal: machine/v1
machine: %[1]s
about: simulated hydraulic press, unit %[2]d

modbus:
  connect: %[3]s
  unit_id: %[2]d
  order: ABCD
  timeout: 800ms
  reads: {max_registers: 125, max_gap: 0}

poll: {fast: 250ms, normal: 1s, slow: 1m}

points:
  - {name: state, at: holding/120, type: uint16, sensitivity: public}
  - {name: public-counter, at: holding/132, type: uint32, poll: fast, sensitivity: public}
  - {name: nameplate, at: holding/220, type: string, bytes: 24, sensitivity: public}
  - {name: temperature, at: input/12, type: int16, scale: 0.1, unit: "°C", sensitivity: internal}
  - {name: energy, at: reg/3204, type: int64, unit: Wh, sensitivity: internal}
  - {name: pump-on, at: coil/7, type: bool, sensitivity: internal}
  - {name: force, at: 40101, type: float32, order: CDAB, unit: kN, poll: fast, sensitivity: restricted}
  - {name: counter, at: holding/130, type: uint32, poll: fast, sensitivity: restricted}
  - {name: program-name, at: 40201, type: string, bytes: 32, sensitivity: restricted}
  - name: torque-log
    at: holding/500
    type: bytes
    bytes: 240
    passthrough: cose
    readable_by: [process-engineering]
    changes_with: holding/499
    sensitivity: restricted
`
