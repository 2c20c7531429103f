select p."offset", e.streams, e.epochs, e.offsets, e.body
from catamaran.streams s
left join catamaran.places p on p.stream = s.name and p.epoch = s.epoch and p."offset" > $3
left join catamaran.entries e on e.id = p.entry
where s.name = $1 and s.epoch = $2 and s.floor <= $3
order by p."offset"
