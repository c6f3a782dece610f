"""What mypy refuses: each line that has a comment ``# error:`` and a code must be refused with it, and no other. It is never run."""

import papisim

papisim.run("papi", "llama7b", batch="four")  # error: arg-type
papisim.run("papi", "llama7b", batch_size=4)  # error: call-arg
papisim.run("papi", "llama7b", bach=4)  # error: call-arg
papisim.run("papi")  # error: call-arg
papisim.run("papi", "llama7b", "creative_writing")  # error: call-arg
papisim.run("papi", "llama7b", metrics="all")  # error: arg-type
papisim.run("papi", "llama7b", workload=[1, 2])  # error: arg-type
papisim.run("papi", "llama7b", set=8)  # error: arg-type
papisim.run(["papi"], "llama7b")  # error: arg-type
papisim.compare("papi", "llama7b", fold="off")  # error: arg-type
papisim.compare(["papi"], ["llama7b"])  # error: arg-type
papisim.explain("papi", "llama7b", of="drafting")  # error: arg-type
papisim.sweep(4)  # error: arg-type
papisim.sweep("space.yaml", frame="feather")  # error: arg-type
papisim.optimise("space.yaml", workers="four")  # error: arg-type
papisim.price("a100", "matmul", m=4, k=8, n=8)  # error: arg-type
papisim.price("a100", "linear", m=4.5, k=8, n=8)  # error: arg-type
papisim.reproduce(7)  # error: arg-type
papisim.fit("log.jsonl", by="user")  # error: arg-type
papisim.capture()  # error: call-arg
papisim.load("papi", set=8)  # error: arg-type
papisim.simulate("papi")  # error: attr-defined
frames = papisim.load("papi").frames  # error: union-attr
