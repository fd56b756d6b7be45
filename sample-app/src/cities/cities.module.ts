import { Module } from '@nestjs/common';
import { KvModule } from 'nestjs-hotcold';
import { CitiesController } from './cities.controller.js';
import { CitiesImporter } from './cities.importer.js';
import { CitiesService } from './cities.service.js';
import { CELLS, CITIES, IMPORT, VISITS } from './city.js';

@Module({
  imports: [KvModule.forFeature([{ name: CITIES }, { name: CELLS }, { name: VISITS }, { name: IMPORT }])],
  controllers: [CitiesController],
  providers: [CitiesService, CitiesImporter],
  exports: [CitiesImporter],
})
export class CitiesModule {}
